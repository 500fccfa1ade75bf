//! Tags: what finds a key that has no name, or no name any more.

use aws_sdk_kms::types::Tag;
use aws_sdk_resourcegroupstagging::types::TagFilter;
use vault::{Error, Kind, Result};

use crate::address::is_key_id;
use crate::client::Kms;
use crate::errors::Fault;

/// The vault's namespace.
pub(crate) const NAMESPACE: &str = "ockam-kms:namespace";
/// The name the key was generated under.
pub(crate) const NAME: &str = "ockam-kms:name";
/// The one request that made it.
pub(crate) const MAKING: &str = "ockam-kms:making";

/// The most pages, of fifty keys and more, that one search brings.
const MAX_PAGES: u32 = 100;

/// A value that no other request has.
pub(crate) fn nonce() -> Result<String> {
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random).map_err(|e| {
        Error::new(Kind::Unavailable, "the system gave no randomness").with_source(e.to_string())
    })?;
    Ok(hex::encode(random))
}

/// The tags of a new key.
pub(crate) fn of(namespace: &str, name: &str, making: &str) -> Result<Vec<Tag>> {
    let incomplete = |e| Error::new(Kind::Backend, "a tag is incomplete").with_source(e);
    [(NAMESPACE, namespace), (NAME, name), (MAKING, making)]
        .into_iter()
        .map(|(key, value)| Tag::builder().tag_key(key).tag_value(value).build().map_err(incomplete))
        .collect()
}

impl Kms {
    /// The ids of the keys that have all these tags.
    pub(crate) async fn tagged(&self, tags: &[(&str, &str)]) -> std::result::Result<Vec<String>, Fault> {
        let filters: Vec<_> =
            tags.iter().map(|(key, value)| TagFilter::builder().key(*key).values(*value).build()).collect();
        let mut found = Vec::new();
        let (mut pages, mut token) = (0, None);
        loop {
            let ask = self.tagging.get_resources().resource_type_filters("kms:key");
            let ask = ask.set_tag_filters(Some(filters.clone())).set_pagination_token(token);
            let page = ask.send().await.map_err(|e| Fault::of("GetResources", e))?;
            for resource in page.resource_tag_mapping_list.unwrap_or_default() {
                let arn = resource.resource_arn.unwrap_or_default();
                let here = format!(":kms:{}:", self.address.region);
                if let Some((_, id)) =
                    arn.split_once(":key/").filter(|(_, id)| is_key_id(id) && arn.contains(&here))
                {
                    found.push(id.to_owned());
                }
            }
            token = page.pagination_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(found);
            }
            pages += 1;
            if pages > MAX_PAGES {
                return Err(Fault::endless("GetResources"));
            }
        }
    }

    /// The ids of the keys that were generated under this name in this vault, whatever became of them.
    pub(crate) async fn once_named(&self, name: &str) -> std::result::Result<Vec<String>, Fault> {
        self.tagged(&[(NAMESPACE, &self.address.namespace), (NAME, name)]).await
    }

    /// The name that a key was generated under in this vault.
    pub(crate) async fn name_by_tag(&self, key_id: &str) -> std::result::Result<Option<String>, Fault> {
        // A key has 50 tags at most, and a page as many.
        let page = self.kms.list_resource_tags().key_id(key_id).limit(50).send().await;
        let tags = page.map_err(|e| Fault::of("ListResourceTags", e))?.tags.unwrap_or_default();
        let value = |key: &str| tags.iter().find(|tag| tag.tag_key == key).map(|tag| tag.tag_value.clone());
        let mine = value(NAMESPACE).as_deref() == Some(self.address.namespace.as_str());
        Ok(value(NAME).filter(|name| mine && vault::KeyName::new(name).is_ok()))
    }
}
