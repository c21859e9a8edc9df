"""Lists answer in pages."""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel

Item = TypeVar("Item")

PageNumber = Annotated[int, Query(ge=1, le=1_000_000, description="page, from 1")]
PageSize = Annotated[int, Query(ge=1, le=200, description="items on a page")]


class Page(BaseModel, Generic[Item]):
    """One page of a list."""

    items: list[Item]
    page: int
    page_size: int
    total: int


def page_of(found: tuple[list[Item], int], page: int, page_size: int) -> Page[Item]:
    """A page from what a store gave: items and total."""
    return Page(items=found[0], page=page, page_size=page_size, total=found[1])
