"""How often somebody may do something: token buckets. Pure: time is passed in.

A rate of N in a period is a bucket of N tokens that fills evenly within the period. All that is kept of a
bucket is the moment at which it will be full again; a full one says as much as none, and is forgotten.
Buckets stand in the order of their last use, so those at the front are full first: each spending drops up to
two of them, so memory follows who was active within the last period, and no sweep stops the hub.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from limits import parse_many

FORGET_AT_ONCE = 2
# Adding up fractions of a period must not refuse the last token of a full bucket.
ROUNDING_SECONDS = 1e-9


class Bucket:
    """One limit: so many tokens in a period, for everybody who spends."""

    def __init__(self, tokens: int, period_seconds: float) -> None:
        self.period_seconds = period_seconds
        self.token_seconds = period_seconds / tokens
        self.full_at: OrderedDict[str, float] = OrderedDict()

    def wait_seconds(self, who: str, now: float) -> float:
        """How long until there is a token; 0 when there is one."""
        full_at = max(self.full_at.get(who, now), now) + self.token_seconds
        excess = full_at - now - self.period_seconds
        return excess if excess > ROUNDING_SECONDS else 0.0

    def take(self, who: str, now: float) -> None:
        """Take a token, and forget a few buckets that are full."""
        self.full_at[who] = max(self.full_at.get(who, now), now) + self.token_seconds
        self.full_at.move_to_end(who)
        for _ in range(FORGET_AT_ONCE):
            oldest = next(iter(self.full_at))
            if self.full_at[oldest] > now:
                break
            del self.full_at[oldest]


class Rates:
    """Rates by name.

    :param rates: in the notation of the `limits` library, for example {"send": "5/second;120/minute"}.
    :raises ValueError: for a rate that it cannot read.
    """

    def __init__(self, rates: Mapping[str, str]) -> None:
        self._buckets = {
            name: [Bucket(item.amount, item.get_expiry()) for item in parse_many(rate)]
            for name, rate in rates.items()
        }

    def __contains__(self, name: str) -> bool:
        return name in self._buckets

    def __len__(self) -> int:
        """How many buckets are remembered."""
        return sum(len(bucket.full_at) for buckets in self._buckets.values() for bucket in buckets)

    def spend(self, name: str, who: str, now: float) -> float:
        """Take a token from each bucket of a rate, or from none.

        :param who: whose buckets.
        :param now: seconds on a clock that never goes back.
        :returns: 0, or the seconds until the same would be granted.
        :raises KeyError: for a name that there is no rate of.
        """
        buckets = self._buckets[name]
        wait_seconds = max(bucket.wait_seconds(who, now) for bucket in buckets)
        if not wait_seconds:
            for bucket in buckets:
                bucket.take(who, now)
        return wait_seconds
