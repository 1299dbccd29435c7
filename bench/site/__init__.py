"""Boards as a folder of web pages: opened from the disk or from any static host, without a server or a network.

`build` writes the folder; `views` says what stands on a page, `plots` draws, `exhibits` makes what is listened to and
looked at, and `leaderboards/page/` holds the templates, the style and the script.
"""
