"""Tags of jobs and crawlers: kept by MiniStack under their ARN, as TagResource keeps them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from localaws.service import Service


class GlueTags(Service):
    """What the halves of Glue's API share."""

    @property
    def _glue(self) -> Any:
        return self.context.client("glue")

    def _arn(self, resource: str) -> str:
        return self.context.arn("glue", resource)

    def _tags(self, resource: str) -> dict[str, str]:
        return self._glue.get_tags(ResourceArn=self._arn(resource))["Tags"]

    def _tag(self, resource: str, tags: dict[str, str] | None) -> None:
        if tags:
            self._glue.tag_resource(ResourceArn=self._arn(resource), TagsToAdd=tags)

    def _untag(self, resource: str) -> None:
        if tags := self._tags(resource):
            self._glue.untag_resource(ResourceArn=self._arn(resource), TagsToRemove=list(tags))

    def _tagged(self, kind: str, names: Iterable[str], tags: dict[str, str] | None) -> list[str]:
        """The names of those that carry all the tags."""
        if not tags:
            return list(names)
        return [name for name in names if tags.items() <= self._tags(f"{kind}/{name}").items()]
