"""The promises with the counts that CI demands: ``python -m tests.proof``."""
