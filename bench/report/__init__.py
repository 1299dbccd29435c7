"""Results written for readers: Markdown, CSV, JSON, SQLite, web pages with sound, and experiment trackers.

`markdown` and `tables` write text and data files; `site` writes the web pages from the values that `views` prepares,
the figures of `plots`, the sounds and pictures of `media`, and the templates, style and script of `templates/`.
"""
