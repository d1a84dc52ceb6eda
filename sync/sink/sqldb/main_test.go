package sqldb_test

import (
	"os"
	"testing"

	"github.com/oktasync/oktasync/sync/sink/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	if target := os.Getenv("SQLDB_REPLACE"); target != "" {
		replaceForever(target)
	}
	os.Exit(sqldbtest.Main(m))
}
