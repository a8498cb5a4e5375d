//! The attributes that follow from the type of a volume.

use otelcore_scraped_metrics::ResourceAttributes;

use crate::config::KubeletAttribute as Attribute;
use crate::pods::{AwsSource, GceSource, GlusterfsSource, PersistentSource, Volume};

/// Sets the type of a volume of a pod, and what else is known of it. Other types have no attributes.
pub(crate) fn set_volume(resource: &mut ResourceAttributes, volume: &Volume) {
    if volume.config_map.is_some() {
        resource.set(Attribute::VolumeType, "configMap");
    } else if volume.downward_api.is_some() {
        resource.set(Attribute::VolumeType, "downwardAPI");
    } else if volume.empty_dir.is_some() {
        resource.set(Attribute::VolumeType, "emptyDir");
    } else if volume.secret.is_some() {
        resource.set(Attribute::VolumeType, "secret");
    } else if let Some(claim) = &volume.persistent_volume_claim {
        resource.set(Attribute::VolumeType, "persistentVolumeClaim");
        resource.set(Attribute::PersistentvolumeclaimName, &claim.claim_name);
    } else if volume.host_path.is_some() {
        resource.set(Attribute::VolumeType, "hostPath");
    } else if let Some(source) = &volume.aws_elastic_block_store {
        set_aws(resource, source);
    } else if let Some(source) = &volume.gce_persistent_disk {
        set_gce(resource, source);
    } else if let Some(source) = &volume.glusterfs {
        set_glusterfs(resource, source);
    }
}

/// Sets what is behind the claim of a volume.
pub(crate) fn set_persistent(resource: &mut ResourceAttributes, source: &PersistentSource) {
    if source.local.is_some() {
        resource.set(Attribute::VolumeType, "local");
    } else if let Some(source) = &source.aws_elastic_block_store {
        set_aws(resource, source);
    } else if let Some(source) = &source.gce_persistent_disk {
        set_gce(resource, source);
    } else if let Some(source) = &source.glusterfs {
        set_glusterfs(resource, source);
    }
}

fn set_aws(resource: &mut ResourceAttributes, source: &AwsSource) {
    resource.set(Attribute::VolumeType, "awsElasticBlockStore");
    resource.set(Attribute::AwsVolumeId, &source.volume_id);
    resource.set(Attribute::FsType, &source.fs_type);
    resource.set(Attribute::Partition, &source.partition.to_string());
}

fn set_gce(resource: &mut ResourceAttributes, source: &GceSource) {
    resource.set(Attribute::VolumeType, "gcePersistentDisk");
    resource.set(Attribute::GcePdName, &source.pd_name);
    resource.set(Attribute::FsType, &source.fs_type);
    resource.set(Attribute::Partition, &source.partition.to_string());
}

fn set_glusterfs(resource: &mut ResourceAttributes, source: &GlusterfsSource) {
    resource.set(Attribute::VolumeType, "glusterfs");
    resource.set(Attribute::GlusterfsEndpointsName, &source.endpoints);
    resource.set(Attribute::GlusterfsPath, &source.path);
}
