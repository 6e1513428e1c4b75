"""From text in several places to typed values: `sources` finds and merges, `values` reads each one."""
