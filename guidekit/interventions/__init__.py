"""Looking into networks and changing what flows through them, for chosen rows of a call, without editing them."""

from guidekit.interventions.installation import installed
from guidekit.interventions.selection import choose, describe, find_sites
from guidekit.interventions.sites import Site, Sited, SiteError

__all__ = ["Site", "SiteError", "Sited", "choose", "describe", "find_sites", "installed"]
