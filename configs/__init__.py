"""The Hydra configuration groups of guidekit, found as pkg://guidekit.configs."""
