"""The demo: a small inspection company's week, planned in Core and watched in Outlook."""
