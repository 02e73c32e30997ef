"""Studies: many runs that answer one question, planned and estimated."""

from mcl.studies.plan import PlannedRow, plan_rows
from mcl.studies.planned_run import PlannedRun
from mcl.studies.study import Study, find_study, load_study, study_names

__all__ = ["PlannedRow", "PlannedRun", "Study", "find_study", "load_study", "plan_rows", "study_names"]
