//! The judge against small histories written out by hand.

use super::*;
use crate::model::payload;
