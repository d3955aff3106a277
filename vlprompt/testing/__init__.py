"""Check a learner of your own: `check_learner(MyLearner)` runs the checks that every method of vlprompt passes."""

from vlprompt.testing.conformance import CheckError, check_learner, failures

__all__ = ["CheckError", "check_learner", "failures"]
