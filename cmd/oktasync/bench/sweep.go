package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

type sweepCmd struct {
	Users []int         `default:"1000,10000" help:"Sizes of the orgs."`
	Shape string        `default:"heavy" help:"How groups and applications are sized: heavy-tailed; or bound, as in the bound of a full reconcile."`
	For   time.Duration `default:"20m" help:"How long it may take."`
}

// Run reads each org in full, and then sweeps it as on a night before which nothing
// changed. The bound is one of calls, whatever the machine does.
func (cmd sweepCmd) Run(ctx context.Context, s Streams) error {
	ctx, cancel := context.WithTimeout(ctx, cmd.For)
	defer cancel()
	l, err := newLab(s)
	if err != nil {
		return err
	}
	defer l.close()
	rows := newTable(s.Out, "users", "records", "calls of full", "calls of sweep", "share", "other calls", "sweep s", "service CPU s", "Redis CPU s", "changes")
	head := ""
	for _, users := range cmd.Users {
		if head, err = cmd.measure(ctx, l, users, rows); err != nil {
			return fmt.Errorf("%d users: %w", users, err)
		}
	}
	fmt.Fprintf(s.Out, "%sshape %s, without factors; at most 10%% of the calls are to be made\n\n", head, cmd.Shape)
	return rows.print()
}

func (cmd sweepCmd) measure(ctx context.Context, l *lab, users int, rows *table) (head string, err error) {
	st, err := l.startStand(ctx, setting{shape: shape(cmd.Shape), users: users, limits: "none", sinks: "none"})
	if err != nil {
		return "", err
	}
	defer st.stop()
	var of [2]reading
	for i, mode := range []string{"full", "sweep"} {
		l.note("%s: %d users: %s", time.Now().UTC().Format(time.TimeOnly), users, mode)
		if of[i], err = st.reconcile(ctx, mode, func(run) {}); err != nil {
			return "", err
		}
		if of[i].EndedAt == nil {
			return "", errors.New("the time is over: give it more by --for")
		}
		if err := st.complete(ctx, of[i]); err != nil {
			return "", err
		}
	}
	full, _ := of[0].callsOfLists()
	sweep, rest := of[1].callsOfLists()
	rows.add(users, of[1].records, full, sweep, fmt.Sprintf("%.1f%%", 100*float64(sweep)/float64(full)), rest,
		fmt.Sprintf("%.2f", of[1].wall.Seconds()), fmt.Sprintf("%.2f", of[1].spent.service.cpu.Seconds()), fmt.Sprintf("%.2f", of[1].spent.redis.cpu.Seconds()), of[1].Changes)
	return machine(ctx, st.redis), nil
}
