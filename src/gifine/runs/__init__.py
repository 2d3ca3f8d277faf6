"""What a run is and leaves behind: its run_id, its folder, record and curve."""
