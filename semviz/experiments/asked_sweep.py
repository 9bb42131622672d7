"""`AskedSweep`: scopes, methods and seeds of a sweep with its recipe, checked once, for plans and for runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from semviz.common import checks
from semviz.common.errors import SemvizError
from semviz.finetuning.learning_rates import usual_rate
from semviz.finetuning.recipe import Recipe
from semviz.lm.model import check_model
from semviz.scopes.methods.peft_configs import as_method
from semviz.scopes.scope import Scope, check_scope

if TYPE_CHECKING:
    from peft import PeftConfig

    from semviz.lm.model import LanguageModel


@dataclass(frozen=True)
class AskedSweep:
    """What a sweep is asked to do.

    Attributes:
        scopes: What trains.
        recipe: How.
        methods, seeds: One run for each of them and each scope.
        guessed_at_width: Width of the model for which each scope's learning rate is guessed, where nothing searches for
            it; otherwise the rate is the recipe's.
    """

    scopes: tuple[Scope, ...]
    recipe: Recipe
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    guessed_at_width: int | None = None

    @property
    def trained(self) -> list[tuple[Scope, Recipe]]:
        """Every scope with the recipe of each method, for the first seed."""
        return [(scope, self._recipe(scope, method)) for scope in self.scopes for method in self.methods]

    def _recipe(self, scope: Scope, method: str) -> Recipe:
        recipe = replace(self.recipe, method=method, seed=self.seeds[0])
        width = self.guessed_at_width
        return recipe if width is None else replace(recipe, lr=usual_rate(width, method, scope.frozen_share))

    def with_scopes(self, scopes: Iterable[Scope]) -> AskedSweep:
        """The same with other scopes, each once."""
        return replace(self, scopes=tuple(dict.fromkeys(scopes)))


def check_sweep(
    model: LanguageModel,
    scopes: Iterable[Scope] | None,
    *,
    methods: Sequence[str | PeftConfig],
    seeds: Sequence[int],
    arguments: Mapping[str, Any] | None,
    **recipe: Any,
) -> AskedSweep:
    """Check what `sweep` is passed; what is listed twice counts once.

    Raises:
        SemvizError: If a list is empty or not a list, or an item or a field of the recipe is not what it should be.
    """
    check_model(model)
    scopes = Scope.suffixes(model) if scopes is None else checks.as_list("scopes", scopes, "a list of Scopes: [scope]")
    unique_scopes = list(dict.fromkeys(check_scope(f"scopes[{i}]", scope) for i, scope in enumerate(scopes)))
    listed = checks.as_list("methods", methods, f"a list such as [{checks.short_repr(methods)}]")
    names = [as_method(method, f"methods[{i}]") for i, method in enumerate(listed)]
    names = list(dict.fromkeys(names))
    seeds = checks.as_list("seeds", seeds, "a list such as range(3)")
    seeds = [checks.whole_number(f"seeds[{i}]", seed, maximum=checks.MAX_SEED) for i, seed in enumerate(seeds)]
    seeds = list(dict.fromkeys(seeds))
    for name, values in (("scopes", unique_scopes), ("methods", names), ("seeds", seeds)):
        if not values:
            raise SemvizError(f"{name} is empty; pass at least one.")
    checked = Recipe(method=names[0], seed=seeds[0], arguments={} if arguments is None else arguments, **recipe)
    return AskedSweep(tuple(unique_scopes), checked, tuple(names), tuple(seeds))
