"""The mathematics of averages, in numpy: decays, widths, profiles, precision, health. No paddle."""
