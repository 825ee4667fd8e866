"""Our filters, one module each; `duoview.plugins.registry` imports one when its name is used."""
