using System.Diagnostics;
using System.Text;

namespace PostCopy.Tests.TestBed;

/// <summary>A command that runs, its output being collected, until it ends or is disposed.</summary>
internal sealed class RunningCommand : IAsyncDisposable
{
    private readonly Process _process;
    private readonly StringBuilder _output = new();
    private readonly StringBuilder _error = new();
    private readonly Task _reading;
    private readonly string _command;
    private bool _disposed;
    private TaskCompletionSource _lineCame = new(TaskCreationOptions.RunContinuationsAsynchronously);

    private RunningCommand(Process process, string command)
    {
        _process = process;
        _command = command;
        _reading = Task.WhenAll(CollectAsync(process.StandardOutput, _output), CollectAsync(process.StandardError, _error));
    }

    public string Output => Text(_output);

    public string Error => Text(_error);

    public int Pid => _process.Id;

    public bool HasExited => _process.HasExited;

    public StreamWriter Input => _process.StandardInput;

    public static RunningCommand Start(string file, params IEnumerable<string> arguments)
    {
        // A shell that runs us in the background has SIGINT ignored, which children inherit and bash cannot undo.
        ProcessStartInfo start = new("env", ["--default-signal=HUP,INT,TERM,USR1", file, .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = Repository.Root,
        };
        return new RunningCommand(Process.Start(start)!, string.Join(' ', start.ArgumentList.Skip(1)));
    }

    public static async Task<CommandResult> RunAsync(TimeSpan limit, string file, params IEnumerable<string> arguments)
    {
        await using RunningCommand command = Start(file, arguments);
        command.Input.Close();
        return await command.WaitAsync(limit);
    }

    public async Task<CommandResult> WaitAsync(TimeSpan limit)
    {
        using CancellationTokenSource late = new(limit);
        try
        {
            await _process.WaitForExitAsync(late.Token);
            await _reading.WaitAsync(late.Token);
        }
        catch (OperationCanceledException)
        {
            throw new TimeoutException($"not finished after {limit}: {new CommandResult(_command, -1, Output, Error)}");
        }

        return new CommandResult(_command, _process.ExitCode, Output, Error);
    }

    /// <summary>Waits until a condition holds, looking again whenever a line was printed.</summary>
    public async Task WaitForOutputAsync(Func<RunningCommand, bool> condition, TimeSpan limit)
    {
        using CancellationTokenSource late = new(limit);
        while (true)
        {
            Task lineCame;
            lock (_output)
            {
                lineCame = _lineCame.Task;
            }

            if (condition(this))
            {
                return;
            }

            if (_reading.IsCompleted)
            {
                throw new InvalidOperationException($"ended before what was waited for: {await WaitAsync(limit)}");
            }

            try
            {
                await Task.WhenAny(lineCame, _reading).WaitAsync(late.Token);
            }
            catch (OperationCanceledException)
            {
                throw new TimeoutException($"nothing of the kind within {limit}: {new CommandResult(_command, -1, Output, Error)}");
            }
        }
    }

    /// <summary>Signals the command; host.sh passes the signal on to what it runs.</summary>
    public async Task SignalAsync(string signal)
    {
        using Process kill = Process.Start("kill", [$"-{signal}", $"{_process.Id}"]);
        await kill.WaitForExitAsync();
    }

    public async ValueTask DisposeAsync()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        if (!_process.HasExited)
        {
            await SignalAsync("TERM");
            using CancellationTokenSource late = new(TimeSpan.FromSeconds(15));
            try
            {
                await _process.WaitForExitAsync(late.Token);
            }
            catch (OperationCanceledException)
            {
                _process.Kill(entireProcessTree: true);
            }
        }

        _process.Dispose();
    }

    private string Text(StringBuilder builder)
    {
        lock (_output)
        {
            return builder.ToString();
        }
    }

    private async Task CollectAsync(StreamReader reader, StringBuilder into)
    {
        while (await reader.ReadLineAsync() is { } line)
        {
            TaskCompletionSource came;
            lock (_output)
            {
                into.AppendLine(line);
                came = _lineCame;
                _lineCame = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            }

            came.SetResult();
        }
    }
}
