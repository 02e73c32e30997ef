"""The teachers of a study in its report: runs before its rows, whose networks teach in them."""

from mcl.reports.markdown import cell, interval, percent
from mcl.reports.rows import Rows
from mcl.reports.tables import Table


def teacher_section(rows: Rows, metric: str) -> list[str]:
    """Return the section on teachers; empty without them."""
    found = teacher_table(rows, metric)
    return ["## Teachers", "", cell(found.caption), "", *found.in_markdown()] if found.rows else []


def teacher_table(rows: Rows, metric: str) -> Table:
    """Return the accuracy of each teacher alone."""
    body = []
    for teacher in rows.teachers:
        for network, estimate in teacher.estimates(metric).items():
            (name,) = teacher.labels.values()
            values = [percent(estimate.mean), interval(estimate), percent(estimate.deviation)]
            body.append([f"{name}, {network}", *values, f"{estimate.count} of {len(teacher.runs)}"])
    caption = (
        "Networks that were trained before, alone, one of each seed, and whose weights rows start from: top-1 accuracy"
        " on the test part in percent."
    )
    return Table("teachers", caption, ["teacher, network", "mean", "95 % interval", "deviation", "runs"], body)
