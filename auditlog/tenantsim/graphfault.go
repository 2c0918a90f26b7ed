package tenantsim

// Faults of the audit log query API are those of Exchange Online, put on its
// requests with [Fault.On]: "graph-create", "graph-query", "graph-records". Of
// a query whose records come with [Missing], two readings find different
// counts.

// QueryFailed ends the audit log query that is asked about next with the
// status failed.
var QueryFailed = Fault{on: "graph-query", fate: "failed"}

// QueryCancelled ends it as if somebody had cancelled it.
var QueryCancelled = Fault{on: "graph-query", fate: "cancelled"}
