//! The detectors of AWS.

pub(super) mod ec2;
pub(super) mod ecs;
pub(super) mod eks;
mod imds;
pub(super) mod lambda;
