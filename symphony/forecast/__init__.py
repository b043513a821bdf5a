"""Forecasts what a study will take, before it begins."""
