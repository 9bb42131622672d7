"""`ScopeName`: what people call a scope and the method that trained it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from semviz.scopes.scope import Scope


@dataclass(frozen=True)
class ScopeName:
    """The names of a scope, and the method.

    Attributes:
        names: All names of the scope, such as `half` and `last`; its boundary or label where it has none.
        boundary: The name that every suffix also has, such as `k=2`; None for other scopes.
        method: The method that trained it.
    """

    names: tuple[str, ...]
    boundary: str | None
    method: str

    @classmethod
    def of(cls, scope: Scope, method: str, *, profile: int | None = None) -> ScopeName:
        """Name a scope: full, half, last or profile, else by its boundary, or by its label if it is not a suffix.

        Args:
            scope: The scope.
            method: The method.
            profile: The boundary that a gain chooses, if there is one.
        """
        if not scope.is_suffix:
            return cls((scope.label,), None, method)
        blocks, boundary = scope.n_blocks, f"k={scope.boundary}"
        named_boundaries = {"full": 0, "half": blocks // 2, "last": blocks - 1, "profile": profile}
        return cls(
            tuple(name for name, k in named_boundaries.items() if k == scope.boundary) or (boundary,), boundary, method
        )

    @property
    def without_method(self) -> str:
        """The scope's names alone: `half = last`."""
        return " = ".join(self.names)

    @property
    def text(self) -> str:
        """Names and method, `half = last, lora`; training all weights is not mentioned."""
        return self._with_method(self.without_method)

    def matches(self, name: str) -> bool:
        """Whether this is a name of it: all its names, one of them or its boundary, each with the method."""
        boundary = () if self.boundary is None else (self.boundary,)
        return name in map(self._with_method, (self.without_method, *self.names, *boundary))

    def _with_method(self, name: str) -> str:
        return name if self.method == "full" else f"{name}, {self.method}"
