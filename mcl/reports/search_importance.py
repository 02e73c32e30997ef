"""How much each option of a search matters: PED-ANOVA of Optuna, as numbers and as a picture."""

from collections.abc import Mapping, Sequence
from typing import Any

from mcl.drawing import new_figure
from mcl.palette import COLORS, LIGHT
from mcl.reports.figures import files, style
from mcl.search.space import Space
from mcl.search.storage import quiet_optuna

FEWEST = 50  # trials; fewer say too little, because only the best tenth of them is compared with all
NAME = "importance"


def importances(space: Space, trials: Sequence[tuple[Mapping[str, Any], float]]) -> dict[str, float]:
    """Return the share of each option in what separates the best tenth of the trials from all, the greatest first.

    Source: Watanabe, Bansal, Hutter, PED-ANOVA: Efficiently quantifying hyperparameter importance in arbitrary
    subspaces, IJCAI 2023.

    Args:
        space: what was searched.
        trials: the values and the accuracy of each finished trial.

    Returns:
        Empty with fewer than two options, fewer than `FEWEST` trials, or equal accuracies.
    """
    if len(space.distributions) < 2 or len(trials) < FEWEST or len({accuracy for _, accuracy in trials}) < 2:
        return {}
    with quiet_optuna():
        import optuna
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        study = optuna.create_study(direction="maximize")
        for values, accuracy in trials:
            study.add_trial(
                optuna.trial.create_trial(params=dict(values), distributions=space.distributions, value=accuracy)
            )
        return dict(get_param_importances(study, evaluator=PedAnovaImportanceEvaluator()))


def importance_picture(shares: Mapping[str, float], formats: Sequence[str]) -> dict[str, bytes]:
    """Draw one bar for each option. Return the picture by format."""
    names = list(shares)[::-1]
    with style():
        figure = new_figure(6.0, 0.8 + 0.35 * len(names))
        axes = figure.subplots()
        axes.barh(names, [shares[name] for name in names], color=COLORS[LIGHT][0], height=0.6)
        axes.set_xlim(0, 1)
        axes.set_xlabel("share in the importance (PED-ANOVA)")
        return files(figure, formats)
