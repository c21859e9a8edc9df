"""`POST /rewards`: what an answer brought, always for a key with a role."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header
from pydantic import AwareDatetime, BaseModel, Field, FiniteFloat

from maestro.core.errors import TooLarge
from maestro.serving.auth import LABELS
from maestro.serving.protocols.documents import Strict, Text, Whole
from maestro.serving.protocols.problems import documented
from maestro.serving.rewards import SentReward
from maestro.serving.server import ModelServer

MAX_REWARDS = 10_000

Authorization = Annotated[str | None, Header(include_in_schema=False)]


class RewardDocument(Strict):
    """One reward: by `reward_id` (the header `x-maestro-reward-id` of the answer), or by `experiment` and `unit` (the value that its node sticks to)."""

    model: Text
    reward: FiniteFloat
    at: Annotated[AwareDatetime, Field(strict=False)]
    reward_id: Text | None = None
    experiment: Text | None = None
    unit: Text | Whole | None = None


class RewardReceipt(BaseModel):
    """How many were taken; they are durable."""

    accepted: int


def reward_routes(server: ModelServer) -> APIRouter:
    """The route. Who asks is looked at before what is asked."""
    router = APIRouter(tags=["admin"])

    def may_reward(authorization: Authorization = None) -> None:
        server.auth.require(authorization, *LABELS)

    @router.post(
        "/rewards",
        dependencies=[Depends(may_reward)],
        responses=documented(400, 401, 403, 404, 413, 415, 422, 503),
    )
    async def rewards(sent: list[RewardDocument]) -> RewardReceipt:
        """Accept rewards. The first reward of an exposure counts; sending it again changes nothing."""
        if len(sent) > MAX_REWARDS:
            raise TooLarge(
                f"{len(sent)} rewards, at most {MAX_REWARDS} are taken at once",
                field="body",
                remedy="send several batches",
            )
        accepted = await server.rewards.accept(
            [
                SentReward(item.model, item.reward, item.at, item.reward_id, item.experiment, _text(item.unit))
                for item in sent
            ]
        )
        return RewardReceipt(accepted=accepted)

    return router


def _text(unit: str | int | None) -> str | None:
    return None if unit is None else str(unit)
