"""What tests share: stand-ins for what lies outside, and things to measure by."""
