package graph

// MaxBody is how many bytes of a body the tests read: under the race detector,
// 64 MiB take seconds each time.
const MaxBody = 4 << 20

func init() { maxBody = MaxBody }

// FilterName is what a record type is called in a query.
var FilterName = filterName
