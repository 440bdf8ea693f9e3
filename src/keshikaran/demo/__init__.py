"""The demonstration: a small made-up data set and the policy that goes with it."""
