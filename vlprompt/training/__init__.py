"""Training and evaluation of any learner; these modules name no method."""
