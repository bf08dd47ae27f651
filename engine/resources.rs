//! Handles that a host lends to workflows (a client, a pool, tools), by type. Never data: that belongs into a step's input.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

/// Handles by type.
#[derive(Clone, Default)]
pub struct Resources(HashMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl Resources {
    /// Adds a handle; one of the same type is replaced.
    #[must_use]
    pub fn with<T: Send + Sync + 'static>(mut self, handle: Arc<T>) -> Self {
        self.0.insert(TypeId::of::<T>(), handle);
        self
    }

    /// The handle of this type.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.0.get(&TypeId::of::<T>()).cloned().and_then(|any| any.downcast().ok())
    }
}
