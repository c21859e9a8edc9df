"""Training in several processes: who is in the group, how they find each other, and a launcher that restarts a group that failed."""

from maestro.training.distribution.collectives import lightgbm_network, tensorflow_config, xgboost_group
from maestro.training.distribution.group import ALONE, Group
from maestro.training.distribution.rendezvous import exchange

__all__ = ["ALONE", "Group", "exchange", "lightgbm_network", "tensorflow_config", "xgboost_group"]
