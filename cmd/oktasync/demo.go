package main

import "context"

type demoCmd struct{}

func (demoCmd) Run(ctx context.Context, w world) error { return nil }
