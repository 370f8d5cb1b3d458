"""How the models are made: schedules, data, engines, runs, sweeps and fine-tuning."""
