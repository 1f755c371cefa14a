"""The demo: a week of a small inspection company, planned in Core and shown in Outlook."""
