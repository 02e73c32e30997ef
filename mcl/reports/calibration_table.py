"""Ensembles and calibration in a report, beside the accuracy of single networks."""

from collections.abc import Mapping
from statistics import fmean

from mcl.reports.accuracy_tables import key, key_header
from mcl.reports.markdown import signed, with_deviation
from mcl.reports.rows import ENSEMBLE, ENSEMBLE_ECE, Rows
from mcl.reports.statistics import Estimate, estimate
from mcl.reports.tables import Table

CAPTION = (
    "Top-1 and expected calibration error (ECE) after the last epoch, in percent of the test part; mean ± deviation"
)


def ensemble_table(rows: Rows) -> Table:
    """Return the accuracy of each network and of the ensemble of its run, and the calibration of both."""
    body = []
    for row in rows.rows:
        errors, ensembles = row.estimates("ece_last"), row.values(ENSEMBLE).get(ENSEMBLE, {})
        ensemble_error = row.estimates(ENSEMBLE_ECE).get(ENSEMBLE, Estimate(0))
        for network, top1 in row.values("top1_last").items():
            means = [with_deviation(estimate(each.values())) for each in (top1, ensembles)]
            accuracies = [*means, signed(_gain(ensembles, top1))]
            calibration = [with_deviation(errors.get(network, Estimate(0))), with_deviation(ensemble_error)]
            body.append([key(rows, row, network), *accuracies, *calibration])
    headers = ["network", "ensemble", "ensemble − network", "ECE", "ECE of the ensemble"]
    return Table("ensemble", f"{CAPTION}.", [key_header(rows), *headers], body).without_empty()


def _gain(ensembles: Mapping[int, float], top1: Mapping[int, float]) -> float | None:
    """Return how far ensembles are above their networks, over the seeds that have both."""
    shared = ensembles.keys() & top1.keys()
    return fmean(ensembles[seed] for seed in shared) - fmean(top1[seed] for seed in shared) if shared else None


def ensemble_section(rows: Rows) -> list[str]:
    """Return the section on ensembles and calibration."""
    found = ensemble_table(rows)
    if not found.rows or len(found.headers) == 1:
        return []
    measured = any("ECE" in header for header in found.headers)
    error = (
        "ECE is the distance of confidence from accuracy, averaged over 15 bins (Guo et al., ICML 2017): 0 is a network"
        " whose confidence is its accuracy. It depends on the accuracy and on the number of images, so compare it"
        " between rows of one table only."
    )
    return [
        "## Ensemble and calibration",
        "",
        *found.in_markdown(),
        f"{CAPTION} between runs. The ensemble is the mean of the backbones' probabilities, those of frozen networks"
        " included, at the cost of running all of them; for ONE and FFL it is the ensemble that the method trains."
        f" {error if measured else 'The calibration of these runs was not recorded.'}",
        "",
    ]
