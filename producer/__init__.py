"""A seeded simulator of a shop's click traffic, and the senders that deliver it.

``world`` builds the shop, ``journeys`` walks people through it, ``dirt`` spoils a share of their
events, ``traffic`` makes one time-ordered stream of lines of it all, ``sinks`` deliver the lines
and ``spool`` keeps on disk what could not be delivered.
"""
