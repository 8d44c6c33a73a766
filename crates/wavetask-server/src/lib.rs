//! The tidy3d door, the native door and the scheduler behind them.
