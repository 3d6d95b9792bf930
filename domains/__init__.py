"""The domains that come with guidekit, imported as guidekit.domains."""
