//go:build !unix

package engine

import "errors"

func limitFiles(uint64) error { return errors.ErrUnsupported }
