package commands

import (
	"fmt"

	"auditbot/auditlog"
)

// CheckRoom refuses a search where less than a tenth of the disk is free, both
// in bytes: results would fill what everything else on the machine needs. An
// error is a [*auditlog.Refusal], or err with what was being done.
func CheckRoom(free, total uint64, err error) error {
	if err != nil {
		return fmt.Errorf("looking how much room the disk has: %w", err)
	}
	if free >= total/10 {
		return nil
	}
	return &auditlog.Refusal{
		Problem: fmt.Sprintf("the disk that results are kept on is nearly full: %d%% of it is free, and no search runs below 10%%", free*100/max(total, 1)),
		Advice:  "whoever runs this bot makes room on the disk of engine.data_dir, or lowers retention.results_days",
		Err:     fmt.Errorf("%d of %d bytes are free", free, total),
	}
}
