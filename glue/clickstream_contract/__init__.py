"""The event contract: what a line may hold, and how it is read. Standard library only."""
