using PostCopy.Memory;
using PostCopy.Migrate;
using Spectre.Console;

namespace PostCopy.Display;

/// <summary>A progress bar per phase with what remains, the rate and the faults, redrawn in place.</summary>
internal sealed class LiveLine : IMigrationDisplay
{
    private readonly TaskCompletionSource _end = new();
    private readonly Task _drawing;
    private volatile StrongProgress _latest = new(new MigrationProgress(MigrationPhase.Preparing, default, 0, 0, 0, 0, 0));

    internal LiveLine()
    {
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) });
        _drawing = console.Progress()
            .AutoClear(true)
            .HideCompleted(false)
            .Columns(new SpinnerColumn(), new TaskDescriptionColumn { Alignment = Justify.Left }, new ProgressBarColumn(), new PercentageColumn(), new ElapsedTimeColumn())
            .StartAsync(DrawAsync);
    }

    public void Report(MigrationProgress value) => _latest = new StrongProgress(value);

    public void Dispose()
    {
        _end.TrySetResult();
        _drawing.GetAwaiter().GetResult();
    }

    private async Task DrawAsync(ProgressContext context)
    {
        ProgressTask bar = context.AddTask("", maxValue: 1);
        using PeriodicTimer tick = new(TimeSpan.FromMilliseconds(100));
        Task<bool> next = tick.WaitForNextTickAsync().AsTask();
        while (await Task.WhenAny(_end.Task, next).ConfigureAwait(false) == next)
        {
            MigrationProgress now = _latest.Value;
            bar.Description = Markup.Escape(Line(now));
            bar.IsIndeterminate = now.PagesTotal == 0;
            bar.Value = now.PagesTotal == 0 ? 0 : 1 - ((double)now.PagesRemaining / now.PagesTotal);
            next = tick.WaitForNextTickAsync().AsTask();
        }
    }

    private static string Line(MigrationProgress now) => now.Round is { } round
        ? $"{MigrationDisplay.Describe(now.Phase)}  {MigrationDisplay.Describe(round)}"
        : now.PagesTotal == 0
        ? MigrationDisplay.Describe(now.Phase)
        : $"{MigrationDisplay.Describe(now.Phase)}  {Quantity.Bytes(PageSize.ToBytes(now.PagesRemaining))} owed  {Quantity.Bytes((ulong)now.BytesPerSecond)}/s  {now.Faults} faults{(now.Trouble is null ? "" : "  " + now.Trouble)}";

    private sealed record StrongProgress(MigrationProgress Value);
}
