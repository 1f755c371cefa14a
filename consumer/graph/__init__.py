"""Microsoft Graph and Entra: tokens, batching, the calendar dialect, the error table."""
