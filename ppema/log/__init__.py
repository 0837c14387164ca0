"""What a run reports: lines for people, records, figures and curves."""
