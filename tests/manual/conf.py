"""Sphinx's configuration of the manual. Nothing of the site is loaded from elsewhere."""

project = "otelcore"
copyright = "the otelcore authors"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_files"]
html_theme = "furo"
html_title = "otelcore"
html_copy_source = False
html_show_sphinx = False
# No fonts, icons or scripts of other hosts.
html_theme_options = {"footer_icons": []}
# Anchors as in the repository's own view of the pages.
myst_heading_anchors = 6
# A page starts with its title; some documents of the root have levels that skip one.
suppress_warnings = ["myst.header"]
# Configurations with ${env:..} and outputs of commands are not complete programs of their language.
highlight_language = "text"
pygments_style = "friendly"
