//! The pure state machine of a task's life: no sockets, databases or clocks.
