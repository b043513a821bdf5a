"""Problems whose truth is known, for agents of set skill, calibration and cost: thousands of seeds in minutes."""
