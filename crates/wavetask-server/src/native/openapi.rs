//! The native API for programs.

use super::Routes;

/// The routes of this part.
pub(super) fn routes(routes: Routes) -> Routes {
    routes
}
