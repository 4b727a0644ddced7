//! The methods of the services, as they are counted.

use metrics::Label;

metrics::label! {"method":
    /// A method of `tikvpb.Tikv` or `pdpb.PD`.
    pub(crate) enum Method {
        /// One value.
        RawGet = "RawGet",
        /// Values.
        RawBatchGet = "RawBatchGet",
        /// One write.
        RawPut = "RawPut",
        /// Writes.
        RawBatchPut = "RawBatchPut",
        /// One deletion.
        RawDelete = "RawDelete",
        /// Deletions.
        RawBatchDelete = "RawBatchDelete",
        /// A range.
        RawScan = "RawScan",
        /// The deletion of a range.
        RawDeleteRange = "RawDeleteRange",
        /// Ranges.
        RawBatchScan = "RawBatchScan",
        /// A time to live.
        RawGetKeyTtl = "RawGetKeyTTL",
        /// A write under a condition.
        RawCompareAndSwap = "RawCompareAndSwap",
        /// The checksum of ranges.
        RawChecksum = "RawChecksum",
        /// A split.
        SplitRegion = "SplitRegion",
        /// What the cluster offers.
        GetClusterInfo = "GetClusterInfo",
        /// Placement's members.
        GetMembers = "GetMembers",
        /// Timestamps.
        Tso = "Tso",
        /// The cluster's beginning.
        Bootstrap = "Bootstrap",
        /// Whether it has begun.
        IsBootstrapped = "IsBootstrapped",
        /// An id.
        AllocId = "AllocID",
        /// A store.
        GetStore = "GetStore",
        /// A store registers.
        PutStore = "PutStore",
        /// The stores.
        GetAllStores = "GetAllStores",
        /// A store reports.
        StoreHeartbeat = "StoreHeartbeat",
        /// Leaders report.
        RegionHeartbeat = "RegionHeartbeat",
        /// Ids for a split.
        AskBatchSplit = "AskBatchSplit",
        /// A split is told.
        ReportBatchSplit = "ReportBatchSplit",
        /// Regions are to be spread.
        ScatterRegion = "ScatterRegion",
        /// An operator.
        GetOperator = "GetOperator",
        /// Splits.
        SplitRegions = "SplitRegions",
        /// A Region by key.
        GetRegion = "GetRegion",
        /// The one before.
        GetPrevRegion = "GetPrevRegion",
        /// A Region by id.
        GetRegionById = "GetRegionByID",
        /// Regions, as a stream of questions.
        QueryRegion = "QueryRegion",
        /// Regions in order.
        ScanRegions = "ScanRegions",
        /// Regions of ranges.
        BatchScanRegions = "BatchScanRegions",
        /// The safe point.
        GetGcSafePoint = "GetGCSafePoint",
        /// The same, to be moved.
        UpdateGcSafePoint = "UpdateGCSafePoint",
    }
}

impl Method {
    /// Whether it is one of `pdpb.PD`.
    pub(crate) fn is_of_placement(self) -> bool {
        self.position() >= Method::GetClusterInfo.position()
    }

    /// The method of `pdpb.PD` with this name.
    pub(crate) fn of_placement(name: &str) -> Option<Self> {
        Self::among(&Self::ALL[Method::GetClusterInfo.position()..], name)
    }

    /// The method of `tikvpb.Tikv` with this name; streams are none.
    pub(crate) fn of_store(name: &str) -> Option<Self> {
        Self::among(&Self::ALL[..Method::GetClusterInfo.position()], name)
    }

    fn among(methods: &[Self], name: &str) -> Option<Self> {
        methods
            .iter()
            .copied()
            .find(|method| method.value() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_placement_is_counted() {
        let proto = include_str!("../../../proto/proto/pdpb.proto");
        let lines = proto
            .lines()
            .filter_map(|line| line.trim().strip_prefix("rpc "));
        let names: Vec<&str> = lines.filter_map(|line| line.split('(').next()).collect();
        assert!(names.len() > 20);
        for name in names {
            assert!(Method::of_placement(name).is_some(), "{name}");
        }
        assert_eq!(Method::of_placement("RawGet"), None);
        assert_eq!(Method::of_store("RawGet"), Some(Method::RawGet));
        assert_eq!(Method::of_store("GetMembers"), None);
    }
}
