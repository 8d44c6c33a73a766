//! Ids, task states, error codes and the wire types that server, worker and command line share.
