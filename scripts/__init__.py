"""Tools for the people who work on fastnn; nothing in the package imports them."""
